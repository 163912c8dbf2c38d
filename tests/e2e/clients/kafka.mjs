// Produces to a topic and reads it all in a group: node kafka.mjs BOOTSTRAP TOPIC COUNT, with kafkajs in NODE_PATH.
import { createRequire } from 'node:module'
import { delimiter } from 'node:path'

const [bootstrap, topic, count] = process.argv.slice(2)
const require = createRequire(process.env.NODE_PATH.split(delimiter)[0] + '/')
const { Kafka, CompressionTypes, logLevel } = require('kafkajs')

const kafka = new Kafka({ clientId: 'kafkajs', brokers: bootstrap.split(','), logLevel: logLevel.ERROR })
const records = Number(count)
const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
await producer.connect()
for (const compression of [CompressionTypes.None, CompressionTypes.GZIP]) {
  const messages = Array.from({ length: records / 2 }, (_, at) => ({ key: String(at), value: 'value', headers: { h: '1' } }))
  await producer.send({ topic, compression, messages, acks: -1 })
}
await producer.disconnect()

const consumer = kafka.consumer({ groupId: `group-${topic}`, sessionTimeout: 10000 })
await consumer.connect()
await consumer.subscribe({ topic, fromBeginning: true })
let seen = 0
await new Promise(resolve => {
  consumer.run({ autoCommit: true, autoCommitThreshold: 1, eachMessage: async () => { if (++seen === records) resolve() } })
})
await new Promise(resolve => setTimeout(resolve, 300))
await consumer.disconnect()
console.log(JSON.stringify({ consumed: seen }))
