export interface Progress {
  begin(what: string, total?: number, unit?: string): void
  advance(done: number): void
  note(line: string): void
  end(): void
}
export function createProgress(stream: NodeJS.WriteStream): Progress {
  return {
    begin() {},
    advance() {},
    note(line) {
      stream.write(`${line}\n`)
    },
    end() {},
  }
}
