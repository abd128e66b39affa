//go:build linux

package gctune

import (
	"fmt"
	"hash/crc32"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smapsEntry is an entry of proc_pid_smaps(5), in kB, shortened.
const smapsEntry = "%s 00001000 fe:00 %s\nSize: 8 kB\nPss_Dirty: 0 kB\nAnonymous:%9d kB\nAnonHugePages: 0 kB\nSwap:%14d kB\nSwapPss: 0 kB\nVmFlags: rd mr\n"

func TestReadOnlyMappings(t *testing.T) {
	const program, code, constants = "42 /middletier", "00400000-01623000 r-xp", "01623000-0296c000 r--p"
	entry := func(head, file string, anonymous, swapped int) string {
		return fmt.Sprintf(smapsEntry, head, file, anonymous, swapped)
	}
	own := entry(code, program, 0, 0)
	want := []mapping{{0x400000, 0x1623000}, {0x1623000, 0x296c000}}
	for _, c := range []struct {
		name  string
		smaps string
		want  []mapping
	}{
		{"code and constants", own + entry(constants, program, 0, 0), want},
		{"a file replaced since", entry(code, "42 /middle tier (deleted)", 0, 0), want[:1]},
		{"between others", entry("0296c000-02a00000 rw-p", program, 0, 0) + own + entry("7ffd0000-7ffd2000 r-xp", "0 [vdso]", 0, 0), want[:1]},
		{"another file", own + entry(constants, "43 /ld.so.cache", 0, 0), want[:1]},
		{"a file of the same number on another device", own + strings.Replace(entry(constants, program, 0, 0), "fe:00", "fe:01", 1), want[:1]},
		{"only other files", entry("00100000-00200000 r-xp", "43 /libc.so", 0, 0) + entry(constants, "44 /libm.so", 0, 0), nil},
		{"writable", own + entry("01623000-0296c000 rw-p", program, 0, 0), want[:1]},
		{"writable only", own + entry("01623000-0296c000 -w-p", program, 0, 0), want[:1]},
		{"not readable", own + entry("01623000-0296c000 ---p", program, 0, 0), want[:1]},
		{"no file", entry(code, "0 ", 0, 0), nil},
		{"relocated by the loader", own + entry(constants, program, 4, 0), want[:1]},
		{"relocated and swapped out", own + entry(constants, program, 0, 4), want[:1]},
		{"code with a breakpoint", entry(code, program, 4, 0) + entry(constants, program, 0, 0), want[1:]},
		{"a kernel that does not count anonymous pages", code + " 00001000 fe:00 42 /middletier\nSize: 8 kB\nSwap: 0 kB\n" +
			entry(constants, program, 0, 0), want[1:]},
		{"cut off", code + " 00001000 fe:00 42 /middletier\nSize: 8 kB\nAnonymous: 0 kB\n", nil},
		{"addresses beyond the machine's", own + entry("fffffffffffffffff-fffffffffffffffffff r-xp", program, 0, 0), want[:1]},
		{"empty", "", nil},
		{"something else", "MemTotal: 1 kB\n\x00\xff\n", nil},
	} {
		if got := readOnlyMappings([]byte(c.smaps), 0x400001); !slices.Equal(got, c.want) {
			t.Errorf("%s: %x, want %x", c.name, got, c.want)
		}
	}
}

// A loader writes addresses into constants before it makes them read-only.
func TestProgramPagesThatAreNotInTheFileStay(t *testing.T) {
	constants := mapProgram(t, unix.PROT_READ|unix.PROT_WRITE)
	at := len(constants) / 2
	constants[at]++
	want := constants[at]
	if err := unix.Mprotect(constants, unix.PROT_READ); err != nil {
		t.Fatal(err)
	}
	dropProgramPages()
	if constants[at] != want {
		t.Error("what was written to a mapping before it was made read-only is lost")
	}
}

func TestRunDropsProgramPages(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(80))
	program := mapProgram(t, unix.PROT_READ)
	sum := crc32.ChecksumIEEE(program) // this reads every page
	if before := residentBytes(t, program); before < len(program)/2 {
		t.Fatalf("%d bytes of %d are in memory after they were read", before, len(program))
	}
	runFor(t, interval+interval/2, 0)
	if after := residentBytes(t, program); after != 0 {
		t.Errorf("%d bytes are still in memory", after)
	}
	if crc32.ChecksumIEEE(program) != sum {
		t.Error("the program's file reads as something else then")
	}
}

// mapProgram maps the program's file once more, until the test ends.
func mapProgram(t *testing.T, access int) []byte {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	mapped, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), access, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(mapped); err != nil {
			t.Error(err)
		}
	})
	return mapped
}

// residentBytes returns how many bytes of a mapping are in memory.
func residentBytes(t *testing.T, mapped []byte) int {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	entry := regexp.MustCompile(fmt.Sprintf(`(?m)^0*%x-(?:.*\n)*?Rss: +(\d+) kB$`, &mapped[0])).FindSubmatch(smaps)
	if entry == nil {
		t.Fatalf("the mapping at %p is not there", mapped)
	}
	kilobytes, err := strconv.Atoi(string(entry[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}
