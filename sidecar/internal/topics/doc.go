// Package topics has the output topics: what waits for each of their partitions, whether they are
// there, and by which number a stream names them.
package topics
