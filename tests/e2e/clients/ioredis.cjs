// ioredis through the proxy: node ioredis.cjs PORT [cluster]
const Redis = require("ioredis");
const assert = require("assert");
const port = Number(process.argv[2]);
const numbers = [...Array(200).keys()];

async function main() {
  const client = new Redis(port);
  const values = await Promise.all(numbers.map((n) => client.set(`js:${n}`, n).then(() => client.get(`js:${n}`))));
  assert.deepStrictEqual(values, numbers.map(String));
  const pipeline = client.pipeline();
  numbers.forEach((n) => pipeline.get(`js:${n}`));
  assert.deepStrictEqual((await pipeline.exec()).map(([, value]) => value), numbers.map(String));
  assert.deepStrictEqual(await client.multi().incr("{js}a").incr("{js}b").exec(), [[null, 1], [null, 1]]);
  client.defineCommand("both", { numberOfKeys: 1, lua: "return {KEYS[1], ARGV[1]}" });
  assert.deepStrictEqual(await client.both("js:k", "v"), ["js:k", "v"]);

  const subscriber = new Redis(port);
  const heard = new Promise((done) => subscriber.on("message", (channel, message) => done([channel, message])));
  await subscriber.subscribe("js:news");
  await client.publish("js:news", "hi");
  assert.deepStrictEqual(await heard, ["js:news", "hi"]);

  const waiting = new Redis(port);
  const popped = waiting.blpop("js:list", 30);
  await client.rpush("js:list", "x");
  assert.deepStrictEqual(await popped, ["js:list", "x"]);

  let seen = 0;
  for await (const keys of client.scanStream({ match: "js:*", count: 50 })) seen += keys.length;
  assert(seen >= numbers.length);

  if (process.argv[3] === "cluster") {
    const cluster = new Redis.Cluster([{ host: "127.0.0.1", port }], { shardedSubscribers: true });
    for (const n of numbers) assert.strictEqual(await cluster.get(`js:${n}`), String(n));
    assert.strictEqual(cluster.nodes("all").length, 1);
    const shard = new Promise((done) => cluster.on("smessage", (channel, message) => done([channel, message])));
    await cluster.ssubscribe("js:shard");
    await cluster.spublish("js:shard", "x");
    assert.deepStrictEqual(await shard, ["js:shard", "x"]);
    cluster.disconnect();
  }
  for (const one of [client, subscriber, waiting]) one.disconnect();
  console.log("ok");
}

main().catch((error) => { console.error(error); process.exit(1); });
