//go:build linux

package gctune

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// smapsEntry is an entry of proc_pid_smaps(5), in kB, shortened.
const smapsEntry = "%s 00001000 fe:00 %s\nSize: 8 kB\nPss_Dirty: 0 kB\nAnonymous:%9d kB\nAnonHugePages: 0 kB\nSwap:%14d kB\nSwapPss: 0 kB\nVmFlags: rd mr\n"

func TestReadOnlyFiles(t *testing.T) {
	const code, constants = "00400000-01623000 r-xp", "01623000-0296c000 r--p"
	want := []mapping{{0x400000, 0x1623000}, {0x1623000, 0x296c000}}
	for _, c := range []struct {
		name  string
		smaps string
		want  []mapping
	}{
		{"code and constants", fmt.Sprintf(smapsEntry, code, "42 /middletier", 0, 0) + fmt.Sprintf(smapsEntry, constants, "42 /middletier", 0, 0), want},
		{"a file replaced since", fmt.Sprintf(smapsEntry, code, "42 /middle tier (deleted)", 0, 0), want[:1]},
		{"between others", fmt.Sprintf(smapsEntry, "0296c000-02a00000 rw-p", "42 /middletier", 0, 0) +
			fmt.Sprintf(smapsEntry, code, "42 /middletier", 0, 0) + fmt.Sprintf(smapsEntry, "7ffd0000-7ffd2000 r-xp", "0 [vdso]", 0, 0), want[:1]},
		{"writable", fmt.Sprintf(smapsEntry, "00400000-01623000 rw-p", "42 /middletier", 0, 0), nil},
		{"writable only", fmt.Sprintf(smapsEntry, "00400000-01623000 -w-p", "42 /middletier", 0, 0), nil},
		{"not readable", fmt.Sprintf(smapsEntry, "00400000-01623000 ---p", "42 /middletier", 0, 0), nil},
		{"no file", fmt.Sprintf(smapsEntry, code, "0 ", 0, 0), nil},
		{"relocated by the loader", fmt.Sprintf(smapsEntry, constants, "42 /middletier", 4, 0), nil},
		{"relocated and swapped out", fmt.Sprintf(smapsEntry, constants, "42 /middletier", 0, 4), nil},
		{"a relocated one before one that is not", fmt.Sprintf(smapsEntry, code, "42 /middletier", 12, 0) +
			fmt.Sprintf(smapsEntry, constants, "42 /middletier", 0, 0), want[1:]},
		{"a kernel that does not count anonymous pages", code + " 00001000 fe:00 42 /middletier\nSize: 8 kB\nSwap: 0 kB\n" +
			fmt.Sprintf(smapsEntry, constants, "42 /middletier", 0, 0), want[1:]},
		{"cut off", code + " 00001000 fe:00 42 /middletier\nSize: 8 kB\nAnonymous: 0 kB\n", nil},
		{"addresses beyond the machine's", fmt.Sprintf(smapsEntry, "fffffffffffffffff-fffffffffffffffffff r-xp", "42 /middletier", 0, 0), nil},
		{"empty", "", nil},
		{"something else", "MemTotal: 1 kB\n\x00\xff\n", nil},
	} {
		if got := readOnlyFiles([]byte(c.smaps)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %x, want %x", c.name, got, c.want)
		}
	}
}

// A loader writes addresses into constants before it makes them read-only.
func TestDropFilePagesKeepsWhatIsNotInTheFile(t *testing.T) {
	size := os.Getpagesize()
	constants := mapFile(t, 2*size, unix.PROT_READ|unix.PROT_WRITE)
	constants[size] = 42
	if err := unix.Mprotect(constants, unix.PROT_READ); err != nil {
		t.Fatal(err)
	}
	dropFilePages()
	if constants[size] != 42 {
		t.Error("what was written to a mapping before it was made read-only is lost")
	}
}

func TestRunDropsFilePages(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(80))
	const size = 16 << 20
	code := mapFile(t, size, unix.PROT_READ)
	if lines := bytes.Count(code, []byte{'\n'}); lines != size { // this reads every page
		t.Fatalf("the file has %d lines, want %d", lines, size)
	}
	before := residentFiles(t)
	synctest.Test(t, func(t *testing.T) {
		go Run(t.Context(), func() int { return 0 })
		time.Sleep(interval + interval/2)
		synctest.Wait()
	})
	if after := residentFiles(t); before-after < size {
		t.Errorf("%d bytes of files are in memory after %d, want %d less", after, before, size)
	}
	if code[size-1] != '\n' {
		t.Error("the file cannot be read any more")
	}
}

// mapFile maps a file of lines into memory until the test ends.
func mapFile(t *testing.T, size, access int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, bytes.Repeat([]byte{'\n'}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	mapped, err := unix.Mmap(int(file.Fd()), 0, size, access, unix.MAP_PRIVATE)
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

// residentFiles returns how many bytes of files the process holds in memory (proc_pid_status(5)).
func residentFiles(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	var kilobytes int
	line := regexp.MustCompile(`(?m)^RssFile:.*$`).Find(status)
	if _, err := fmt.Sscanf(string(line), "RssFile: %d kB", &kilobytes); err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}
