// node-redis through the proxy: node node_redis.cjs PORT [cluster]
const { createClient, createCluster } = require("redis");
const assert = require("assert");
const port = Number(process.argv[2]);
const numbers = [...Array(100).keys()];

async function main() {
  for (const RESP of [2, 3]) {
    const client = createClient({ url: `redis://127.0.0.1:${port}`, RESP });
    await client.connect();
    const values = await Promise.all(numbers.map((n) => client.set(`nr:${n}`, n).then(() => client.get(`nr:${n}`))));
    assert.deepStrictEqual(values, numbers.map(String));
    await client.hSet("nr:h", { a: "1", b: "2" });
    assert.deepStrictEqual({ ...(await client.hGetAll("nr:h")) }, { a: "1", b: "2" });
    assert.deepStrictEqual(await client.multi().set("{nr}a", "1").get("{nr}a").exec(), ["OK", "1"]);
    await client.zAdd("nr:z", [{ score: 1.5, value: "a" }]);
    assert.deepStrictEqual(await client.zRangeWithScores("nr:z", 0, -1), [{ score: 1.5, value: "a" }]);
    const subscriber = client.duplicate();
    await subscriber.connect();
    let hear;
    const heard = new Promise((done) => { hear = done; });
    await subscriber.subscribe("nr:news", hear);
    await client.publish("nr:news", "hi");
    assert.strictEqual(await heard, "hi");
    await subscriber.close();
    await client.close();
  }
  if (process.argv[3] === "cluster") {
    const cluster = createCluster({ rootNodes: [{ url: `redis://127.0.0.1:${port}` }] });
    await cluster.connect();
    for (const n of numbers) assert.strictEqual(await cluster.get(`nr:${n}`), String(n));
    assert.strictEqual(cluster.masters.length, 1);
    await cluster.close();
  }
  console.log("ok");
}

main().catch((error) => { console.error(error); process.exit(1); });
