export const handler = async (event) => {
  const name = event.pathParameters?.name ?? event.name ?? "world";
  console.log("greeting", name);
  return { message: `${process.env.GREETING}, ${name}!`, runtime: `Node.js ${process.versions.node}` };
};
