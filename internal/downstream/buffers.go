package downstream

import "sync"

// Bodies are read into buffers of two sizes. In large ones a body takes fewer system calls. A large one
// is less than 64 KiB because on loopback Linux sends up to 64 KiB as one segment, IP's and TCP's
// headers included: 64 KiB of a body would be two segments, one of them of some 50 bytes.
type (
	smallBuffer = [32 << 10]byte
	largeBuffer = [60 << 10]byte
)

var (
	smallBuffers = sync.Pool{New: func() any { return new(smallBuffer) }}
	largeBuffers = sync.Pool{New: func() any { return new(largeBuffer) }}
)

// bufferSize returns the size of the buffers for a body. One of unknown length, -1, has small ones:
// many may be streams, which wait most of the time.
func bufferSize(length int64) int {
	if length > int64(len(smallBuffer{})) {
		return len(largeBuffer{})
	}
	return len(smallBuffer{})
}

// takeBuffer returns a buffer that was used before, or a new one. size is a result of bufferSize.
func takeBuffer(size int) []byte {
	if size == len(largeBuffer{}) {
		return largeBuffers.Get().(*largeBuffer)[:]
	}
	return smallBuffers.Get().(*smallBuffer)[:]
}

// giveBuffer returns a buffer of takeBuffer, which must not be used afterwards.
func giveBuffer(b []byte) {
	if len(b) == len(largeBuffer{}) {
		largeBuffers.Put((*largeBuffer)(b))
		return
	}
	smallBuffers.Put((*smallBuffer)(b))
}
