import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";

export interface Todo {
  id: string;
  title: string;
  done: boolean;
}

/**
 * Todos in a file. /tmp belongs to one instance of the function and goes with it: another instance has other todos. That is enough
 * to try things out; what must last belongs in a database.
 */
export class Todos {
  private readonly byId: Map<string, Todo>;

  constructor(private readonly file: string) {
    this.byId = new Map(existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as [string, Todo][]) : []);
  }

  all(): Todo[] {
    return [...this.byId.values()];
  }

  get(id: string): Todo | undefined {
    return this.byId.get(id);
  }

  put(todo: Todo): void {
    this.byId.set(todo.id, todo);
    this.save();
  }

  delete(id: string): boolean {
    const found = this.byId.delete(id);
    if (found) this.save();
    return found;
  }

  private save(): void {
    writeFileSync(this.file + ".new", JSON.stringify([...this.byId]));
    renameSync(this.file + ".new", this.file);
  }
}
