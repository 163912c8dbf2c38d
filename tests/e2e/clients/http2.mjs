// A hundred requests at once, one with trailers, and one that is given up; prints how it went.
import http2 from "node:http2";

const session = http2.connect(process.argv[2]);
const report = { right: 0, wrong: 0, trailers: null, cancelled: false };

function request(path, body) {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":path": path, ":method": body ? "POST" : "GET" });
    const chunks = [];
    stream.on("data", (chunk) => chunks.push(chunk));
    stream.on("trailers", (trailers) => (report.trailers = trailers["x-sum"]));
    stream.on("end", () => resolve(Buffer.concat(chunks)));
    stream.on("error", reject);
    stream.end(body);
  });
}

const all = [...Array(100).keys()].map(async (at) => {
  const body = at % 3 ? undefined : Buffer.alloc(at * 2000 + 1, at);
  const received = await request(`/${at}`, body);
  report[received.equals(body ?? Buffer.from(`/${at}`)) ? "right" : "wrong"]++;
});
await Promise.all(all);
await request("/trailers");
const stream = session.request({ ":path": "/never" });
setTimeout(() => stream.close(http2.constants.NGHTTP2_CANCEL), 50);
await new Promise((resolve) => stream.on("close", resolve));
report.cancelled = stream.rstCode === http2.constants.NGHTTP2_CANCEL;
session.close();
console.log(JSON.stringify(report));
