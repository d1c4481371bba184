const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

exports.quick = async () => 'quick'

exports.slow = async (event) => {
  await wait(Number(event.queryStringParameters?.ms ?? 0))
  return 'slow'
}

// Prints as much as it is let.
exports.print = async (event) => {
  const line = 'x'.repeat(200000)
  for (const end = Date.now() + Number(event.queryStringParameters?.ms ?? 0); Date.now() < end;) {
    console.log(line)
    await new Promise(setImmediate) // for it to go out
  }
  return 'printed'
}

// More than all buffers on the way hold.
exports.stream = awslambda.streamifyResponse(async (event, out) => {
  const bytes = Number(event.queryStringParameters?.ms ?? 0) && 64 << 20
  const part = Buffer.alloc(1 << 16, 'x')
  for (let n = 0; n < bytes; n += part.length) if (!out.write(part)) await new Promise((resolve) => out.once('drain', resolve))
  out.end('streamed')
})
