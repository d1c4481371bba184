// What the bootstrap loads and calls for nobody while it waits for a function; see rehearse.
exports.handler = async (event) => event;
