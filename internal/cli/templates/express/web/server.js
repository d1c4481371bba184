import express from "express";

const app = express();

app.get(["/", "/hello/:name"], (req, res) => {
  res.json({ message: `Hello, ${req.params.name ?? "world"}!`, runtime: `Node.js ${process.version}` });
});

app.listen(process.env.PORT);
