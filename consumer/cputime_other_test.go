//go:build !unix

package consumer

func cpuTime() int64 { return 0 }
