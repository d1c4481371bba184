const crypto = require('crypto')

exports.handler = async (event, context) => ({
  Name: process.env.NAME + context.functionName,
  Draws: [String(Math.random()), crypto.randomUUID(), crypto.randomBytes(16).toString('hex')]
})
