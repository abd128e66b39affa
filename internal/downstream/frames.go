package downstream

import (
	"crypto/rand"
	"encoding/binary"
)

const (
	opcodeClose = 0x8
	maskBit     = 0x80
	maskSize    = 4

	// maxFrameHeader is the size of the largest frame header without its mask: two bytes and a
	// length of eight.
	maxFrameHeader = 10
)

// frames finds the ends of the frames in the bytes that one side of a WebSocket sends (RFC
// 6455, section 5.2). It decides nothing about them: what a frame breaks of the protocol is for
// its receiver. The zero value is at the beginning of the first frame.
type frames struct {
	header   [maxFrameHeader]byte
	received int    // bytes of header
	rest     uint64 // bytes of mask and payload that are still to come, once the header is complete
	closed   bool   // a Close frame has ended
}

// next returns how many bytes of b belong to the current frame: up to its end, or all of b. b
// is not empty.
func (f *frames) next(b []byte) int {
	n := 0
	for !f.isHeaderComplete() {
		if n == len(b) {
			return n
		}
		f.header[f.received] = b[n]
		f.received++
		n++
		if f.isHeaderComplete() {
			f.rest = f.length()
		}
	}
	taken := min(f.rest, uint64(len(b)-n))
	f.rest -= taken
	n += int(taken)
	if f.rest == 0 {
		f.closed = f.closed || f.header[0]&0x0f == opcodeClose
		f.received = 0
	}
	return n
}

// skip passes over all of b.
func (f *frames) skip(b []byte) {
	for len(b) > 0 {
		b = b[f.next(b):]
	}
}

// between reports whether the last frame has ended and no other has begun.
func (f *frames) between() bool { return f.received == 0 }

func (f *frames) isHeaderComplete() bool {
	if f.received < 2 {
		return false
	}
	switch f.header[1] &^ maskBit {
	case 126:
		return f.received == 4
	case 127:
		return f.received == maxFrameHeader
	}
	return true
}

// length returns the size of the mask and the payload of a frame whose header is complete. One
// that the protocol does not allow is as large as it says, at most the largest number.
func (f *frames) length() uint64 {
	var payload, mask uint64
	if f.header[1]&maskBit != 0 {
		mask = maskSize
	}
	switch short := f.header[1] &^ maskBit; short {
	case 126:
		payload = uint64(binary.BigEndian.Uint16(f.header[2:]))
	case 127:
		payload = binary.BigEndian.Uint64(f.header[2:])
	default:
		payload = uint64(short)
	}
	return max(payload, payload+mask) // a sum that overflows is smaller
}

// closeFrame returns a Close frame with a code and a reason of at most 123 bytes. Frames to an
// API are masked, those to a caller are not (RFC 6455, section 5.1).
func closeFrame(code uint16, reason string, masked bool) []byte {
	payload := append(binary.BigEndian.AppendUint16(nil, code), reason...)
	frame := []byte{0x80 | opcodeClose, byte(len(payload))}
	if !masked {
		return append(frame, payload...)
	}
	var mask [maskSize]byte
	_, _ = rand.Read(mask[:]) // never fails
	frame[1] |= maskBit
	frame = append(frame, mask[:]...)
	for i, b := range payload {
		frame = append(frame, b^mask[i%maskSize])
	}
	return frame
}
