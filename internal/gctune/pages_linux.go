package gctune

import (
	"os"
	"regexp"
	"strconv"

	"golang.org/x/sys/unix"
)

// dropFilePages gives up the pages of files that the process only reads: the program's code and
// constants, most of which only the start used. What is needed again comes back by itself, from
// the kernel's page cache or the file. Where the kernel does not say what is mapped, or keeps a
// mapping, pages stay: nothing but the process's size depends on it.
func dropFilePages() {
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	for _, m := range readOnlyFiles(smaps) {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED)
	}
}

// A mapping is a range of the process's addresses.
type mapping struct{ start, end uintptr }

// readOnlyFile is the entry of a read-only mapping of a file, without which no page is: a loader
// may have written to a mapping before it was made read-only, and a debugger may write to it.
// Such pages are anonymous, and MADV_DONTNEED would lose them (proc_pid_smaps(5), madvise(2)).
var readOnlyFile = regexp.MustCompile(`(?m)^([0-9a-f]+)-([0-9a-f]+) r-\S+ \S+ \S+ [1-9]\d* .*\n` +
	`(?:[A-Z]\w+:.*\n)*?Anonymous: +0 kB\n(?:[A-Z]\w+:.*\n)*?Swap: +0 kB$`)

// readOnlyFiles returns the mappings of smaps whose pages are all in a file that the process only
// reads.
func readOnlyFiles(smaps []byte) []mapping {
	var found []mapping
	for _, entry := range readOnlyFile.FindAllSubmatch(smaps, -1) {
		start, err1 := strconv.ParseUint(string(entry[1]), 16, strconv.IntSize)
		end, err2 := strconv.ParseUint(string(entry[2]), 16, strconv.IntSize)
		if err1 == nil && err2 == nil {
			found = append(found, mapping{uintptr(start), uintptr(end)})
		}
	}
	return found
}
