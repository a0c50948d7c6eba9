// Package brokers is what the sidecar asks Kafka beside handing it records: whether a broker
// answers, which cluster it is, which topics there are, and what wills ask the coordinators of
// groups.
package brokers
