/** What souk needs and npm does not bring, and the packages that provide it, by the program that installs them. */

export interface Need {
  is: string
  packages: Readonly<Record<string, string>>
}

export const NEEDS = {
  server: {
    is: 'the MariaDB server',
    packages: {
      'apt-get': 'mariadb-server-core mariadb-client-core', // mariadb-install-db runs a program of the client's package
      brew: 'mariadb',
    },
  },
  baseline: {
    is: "Python's MariaDB driver",
    packages: { 'apt-get': 'python3-mysqldb', pip: 'mysqlclient' },
  },
  shells: {
    is: 'zsh and fish',
    packages: { 'apt-get': 'zsh fish', brew: 'zsh fish' },
  },
} as const satisfies Record<string, Need>

/** One line of advice for a need that is not met. */
export function howToInstall({ is, packages }: Need): string {
  const ways = Object.entries(packages).map(([manager, names]) => `${manager} install ${names}`)
  return `install ${is}: ${ways.join(', or ')}`
}
