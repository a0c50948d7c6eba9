// Package recent keeps how long things took in the last half minute, for who looks at a process:
// quantiles without a metrics reader, in 10 KB, at the price of a lock and an addition.
package recent
