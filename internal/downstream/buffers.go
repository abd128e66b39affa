package downstream

import "sync"

// Bodies are read into buffers of two sizes. In large ones a body takes fewer system calls, but a
// long body costs more in them than in small ones: docs/performance.md has the figures.
type (
	smallBuffer = [32 << 10]byte
	largeBuffer = [64 << 10]byte
)

// largeLimit is the length of the longest body that is read into large buffers, in bytes.
const largeLimit = 256 << 10

var (
	smallBuffers = sync.Pool{New: func() any { return new(smallBuffer) }}
	largeBuffers = sync.Pool{New: func() any { return new(largeBuffer) }}
)

// bufferSize returns the size of the buffers for a body, whose length may be unknown (-1).
func bufferSize(length int64) int {
	if length > int64(len(smallBuffer{})) && length <= largeLimit {
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

// giveBuffer gives a buffer of takeBuffer to others.
func giveBuffer(b []byte) {
	if len(b) == len(largeBuffer{}) {
		largeBuffers.Put((*largeBuffer)(b))
		return
	}
	smallBuffers.Put((*smallBuffer)(b))
}
