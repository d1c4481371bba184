interface Event {
  pathParameters?: Record<string, string>;
  name?: string;
}

interface Greeting {
  message: string;
  runtime: string;
}

export const handler = async (event: Event): Promise<Greeting> => {
  const name = event.pathParameters?.name ?? event.name ?? "world";
  return { message: `Hello, ${name}!`, runtime: `Node.js ${process.version}` };
};
