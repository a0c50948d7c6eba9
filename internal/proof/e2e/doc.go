// Package e2e runs Ackmark as its users do, as processes on real Kafka brokers, and breaks them. It
// has no code of its own, only tests.
//
// Each scenario feeds numbered inputs with a plain franz-go producer, runs the uppercase example
// (or another small app) beside a sidecar, kills something, waits until the group has no lag, and
// then reads both topics and the group's commits with a plain reader. What it checks then:
//
//   - lost, reordered per key, unknown, corrupt: none (package verify);
//   - S1 for every commit that the broker accepted, by the brokers' clocks (see evidence_test.go);
//   - S3: no partition's commits go back;
//   - S6: every repeated output belongs to an input that was done and not committed, or not
//     acknowledged, when something was killed.
package e2e
