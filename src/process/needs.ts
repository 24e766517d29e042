/** What souk needs and npm does not install: the packages that provide it, by package manager. */

/** The package managers that install what is missing, if they are there. */
export const MANAGERS = ['apt-get', 'brew'] as const

export interface Need {
  name: string
  packages: Readonly<Record<string, string>>
}

export const NEEDS = {
  server: {
    name: 'the MariaDB server',
    packages: {
      'apt-get': 'mariadb-server-core mariadb-client-core', // mariadb-install-db runs a program of the client's package
      brew: 'mariadb',
    },
  },
  baseline: {
    name: "Python's MariaDB driver",
    packages: { 'apt-get': 'python3-mysqldb', pip: 'mysqlclient' },
  },
  shells: {
    name: 'zsh, fish, nc and mariadb-dump',
    packages: { 'apt-get': 'zsh fish netcat-openbsd mariadb-client', brew: 'zsh fish mariadb' }, // macOS brings nc
  },
  certificates: {
    name: 'openssl',
    packages: { 'apt-get': 'openssl', brew: 'openssl' },
  },
} as const satisfies Record<string, Need>

/** One line of advice for a need that is not met. */
export function howToInstall({ name, packages }: Need): string {
  const ways = Object.entries(packages).map(([manager, list]) => `${manager} install ${list}`)
  return `install ${name}: ${ways.join(', or ')}`
}
