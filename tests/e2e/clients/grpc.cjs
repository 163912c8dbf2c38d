// Calls of all kinds with @grpc/grpc-js, whose messages are plain bytes here; prints how they went.
const grpc = require("@grpc/grpc-js");

const same = (bytes) => bytes;
const method = (name, requestStream, responseStream) => ({
  path: `/test.v1.Echo/${name}`, requestStream, responseStream,
  requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
});
const Client = grpc.makeGenericClientConstructor({
  unary: method("Unary", false, false), collect: method("Collect", true, false), repeat: method("Repeat", false, true),
  chat: method("Chat", true, true), fail: method("Fail", false, false), slow: method("Slow", false, false),
});
const client = new Client(process.argv[2], grpc.credentials.createInsecure());

const call = (name, message, options = {}) => new Promise((resolve) => {
  client[name](message, new grpc.Metadata(), options, (error, reply) => resolve(error ? grpc.status[error.code] : reply));
});
const read = (stream) => new Promise((resolve, reject) => {
  const all = [];
  stream.on("data", (message) => all.push(message.toString()));
  stream.on("end", () => resolve(all));
  stream.on("error", reject);
});

async function main() {
  const report = { right: 0 };
  await Promise.all([...Array(200).keys()].map(async (at) => {
    const message = Buffer.alloc(at * 500, at);
    const reply = await call("unary", message);
    report.right += message.equals(reply);
  }));
  report.repeat = (await read(client.repeat(Buffer.from("500")))).length;
  const chat = client.chat();
  for (const word of ["a", "b", "c"]) chat.write(Buffer.from(word));
  chat.end();
  report.chat = (await read(chat)).join("");
  report.collect = await new Promise((resolve) => {
    const stream = client.collect((error, reply) => resolve(reply.toString()));
    for (const word of ["x", "y"]) stream.write(Buffer.from(word));
    stream.end();
  });
  report.fail = await call("fail", Buffer.from("x"));
  report.slow = await call("slow", Buffer.from("x"), { deadline: Date.now() + 200 });
  console.log(JSON.stringify(report));
  client.close();
}

main();
