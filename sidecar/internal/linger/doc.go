// Package linger decides how long records wait for others to share their batch. Kafka pays for each
// partition's batch, hardly for its records: where a linger gathers few, a longer one saves most of
// what the brokers spend. Where it gathers enough, or where nothing else comes, waiting is loss.
package linger
