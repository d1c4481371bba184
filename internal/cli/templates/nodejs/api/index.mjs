export const handler = async (event) => {
  const name = event.pathParameters?.name ?? event.name ?? "world";
  return { message: `Hello, ${name}!`, runtime: `Node.js ${process.version}` };
};
