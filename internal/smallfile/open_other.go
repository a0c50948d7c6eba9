//go:build !unix

package smallfile

// nonblocking has no meaning here: pipes have no names in the file system.
const nonblocking = 0
