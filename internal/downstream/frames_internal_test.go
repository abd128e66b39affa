package downstream

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"
)

// frame returns a frame with a payload of so many bytes.
func frame(first byte, size int, masked bool) []byte {
	b := []byte{first}
	switch {
	case size < 126:
		b = append(b, byte(size))
	case size < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(size))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(size))
	}
	if masked {
		b[1] |= maskBit
		size += maskSize
	}
	return append(b, bytes.Repeat([]byte{0x88}, size)...) // looks like Close frames
}

func TestEndsOfFramesAreFoundWhereverReadsEnd(t *testing.T) {
	all := [][]byte{
		frame(0x01, 0, false), frame(0x00, 125, true), frame(0x89, 4, true), frame(0x80, 126, false),
		frame(0xc2, 65535, true), frame(0x82, 65536, false), frame(0x8a, 0, true), frame(0x88, 2, true),
	}
	var want []int
	end := 0
	for _, f := range all {
		end += len(f)
		want = append(want, end)
	}
	stream := slices.Concat(all...)
	for _, size := range []int{1, 2, 3, 7, 1000, 4096, len(stream)} {
		var f frames
		var got []int
		position := 0
		for piece := range slices.Chunk(stream, size) {
			for len(piece) > 0 {
				n := f.next(piece)
				position, piece = position+n, piece[n:]
				if f.between() {
					got = append(got, position)
				}
				if f.closed != (position == len(stream)) {
					t.Fatalf("reads of %d: closed is %t after %d of %d bytes", size, f.closed, position, len(stream))
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("reads of %d: frames end at %v, want %v", size, got, want)
		}
	}
}

// A length beyond what the protocol allows has no end that matters.
func TestLargestLengthDoesNotOverflow(t *testing.T) {
	var f frames
	f.skip(bytes.Repeat([]byte{0xff}, maxFrameHeader))
	if f.between() || f.closed || f.rest != math.MaxUint64 {
		t.Errorf("in a frame of 2^64-1 bytes: got between %t, closed %t and %d to come; want neither, and all", f.between(), f.closed, f.rest)
	}
}

// A Close frame is one whatever else is in its first byte: what that breaks is for its receiver.
func TestEveryCloseFrameCloses(t *testing.T) {
	for first, want := range map[byte]bool{0x88: true, 0x08: true, 0xf8: true, 0x89: false, 0x8a: false, 0x80: false, 0x81: false} {
		var f frames
		if f.skip(frame(first, 2, false)); f.closed != want {
			t.Errorf("after a frame that begins with %x: closed is %t, want %t", first, f.closed, want)
		}
	}
}

func TestCloseFrames(t *testing.T) {
	if got, want := closeFrame(1008, "no", false), []byte{0x88, 4, 0x03, 0xf0, 'n', 'o'}; !bytes.Equal(got, want) {
		t.Errorf("to a caller: got %x, want %x", got, want)
	}
	masked := closeFrame(1001, "gone", true)
	mask, payload := masked[2:6], slices.Clone(masked[6:])
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	if masked[0] != 0x88 || masked[1] != 0x80|6 || string(payload) != "\x03\xe9gone" {
		t.Errorf("to an API: got %x with payload %q", masked[:2], payload)
	}
}

// What is read in pieces is divided as what is read at once.
func FuzzFrames(f *testing.F) {
	f.Add(slices.Concat(frame(0x81, 5, true), frame(0x88, 2, false)), uint8(3))
	f.Add(frame(0x82, 300, true), uint8(1))
	f.Add(bytes.Repeat([]byte{0xff}, 30), uint8(9))
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		ends := func(pieces [][]byte) (ends []int, last frames) {
			position := 0
			for _, piece := range pieces {
				for len(piece) > 0 {
					n := last.next(piece)
					if n < 1 || n > len(piece) {
						t.Fatalf("next(%d bytes): got %d", len(piece), n)
					}
					position, piece = position+n, piece[n:]
					if last.between() {
						ends = append(ends, position)
					}
				}
			}
			return ends, last
		}
		whole, atOnce := ends([][]byte{b})
		pieces, inPieces := ends(slices.Collect(slices.Chunk(b, int(size)+1)))
		if !slices.Equal(whole, pieces) || atOnce.between() != inPieces.between() || atOnce.closed != inPieces.closed {
			t.Errorf("frames end at %v, in pieces at %v", whole, pieces)
		}
		if !atOnce.between() {
			return
		}
		ours := closeFrame(1008, "ours", true)
		if _, after := ends([][]byte{b, ours}); !after.closed || !after.between() {
			t.Errorf("a Close frame after the last frame is not one")
		}
	})
}
