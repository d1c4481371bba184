import { randomUUID } from "node:crypto";
import { Hono } from "hono";
import { handle } from "hono/aws-lambda";
import { z } from "zod";
import { Todos } from "./todos";

const NewTodo = z.object({ title: z.string().trim().min(1).max(200) });
const Change = NewTodo.partial().extend({ done: z.boolean().optional() });

const todos = new Todos("/tmp/todos.json");
const app = new Hono();

app.get("/todos", (c) => c.json(todos.all()));

app.post("/todos", async (c) => {
  const { title } = NewTodo.parse(await c.req.json());
  const todo = { id: randomUUID(), title, done: false };
  todos.put(todo);
  return c.json(todo, 201);
});

app.get("/todos/:id", (c) => {
  const todo = todos.get(c.req.param("id"));
  return todo ? c.json(todo) : c.notFound();
});

app.patch("/todos/:id", async (c) => {
  const todo = todos.get(c.req.param("id"));
  if (!todo) return c.notFound();
  const changed = { ...todo, ...Change.parse(await c.req.json()) };
  todos.put(changed);
  return c.json(changed);
});

app.delete("/todos/:id", (c) => (todos.delete(c.req.param("id")) ? c.body(null, 204) : c.notFound()));

app.notFound((c) => c.json({ message: "there is no such todo" }, 404));

app.onError((err, c) => {
  if (err instanceof z.ZodError) return c.json({ message: z.prettifyError(err) }, 400);
  if (err instanceof SyntaxError) return c.json({ message: "the body is not JSON" }, 400);
  console.error(err);
  return c.json({ message: "something broke; the function's log says more" }, 500);
});

export const handler = handle(app);
