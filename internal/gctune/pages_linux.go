package gctune

import (
	"os"
	"reflect"
	"regexp"
	"strconv"

	"golang.org/x/sys/unix"
)

// dropProgramPages gives up the pages of the program's file: its code and constants, most of
// which only the start used. What is needed again comes back by itself, from the kernel's page
// cache or the file. Where the kernel does not say what is mapped, or keeps a mapping, pages stay:
// nothing but the process's size depends on it.
func dropProgramPages() {
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	code := reflect.ValueOf(dropProgramPages).Pointer()
	for _, m := range readOnlyMappings(smaps, code) {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED)
	}
}

// mapping is a range of the process's addresses.
type mapping struct{ start, end uintptr }

var (
	// fileMapping matches the beginning of the entry of a file's mapping in proc_pid_smaps(5):
	// its addresses, and the device and inode of the file.
	fileMapping = regexp.MustCompile(`(?m)^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ (\S+ [1-9]\d*) `)

	// readOnlyMapping matches the entry of one that is read-only and has no anonymous pages. A
	// loader may have written to a mapping before it was made read-only, and a debugger may write
	// to it: MADV_DONTNEED would lose that (madvise(2)).
	readOnlyMapping = regexp.MustCompile(`(?m)^([0-9a-f]+)-([0-9a-f]+) r-\S+ \S+ (\S+ [1-9]\d*) .*\n` +
		`(?:[A-Z]\w+:.*\n)*?Anonymous: +0 kB\n(?:[A-Z]\w+:.*\n)*?Swap: +0 kB$`)
)

// readOnlyMappings returns those mappings of smaps that are read-only, without anonymous pages,
// and of the file that is mapped at address. Mappings of other files may come and go meanwhile.
func readOnlyMappings(smaps []byte, address uintptr) []mapping {
	file := ""
	for _, entry := range fileMapping.FindAllSubmatch(smaps, -1) {
		if m, ok := parseMapping(entry); ok && m.start <= address && address < m.end {
			file = string(entry[3])
		}
	}
	var found []mapping
	for _, entry := range readOnlyMapping.FindAllSubmatch(smaps, -1) {
		if m, ok := parseMapping(entry); ok && string(entry[3]) == file {
			found = append(found, m)
		}
	}
	return found
}

// parseMapping parses the addresses of an entry.
func parseMapping(entry [][]byte) (m mapping, ok bool) {
	start, err1 := strconv.ParseUint(string(entry[1]), 16, strconv.IntSize)
	end, err2 := strconv.ParseUint(string(entry[2]), 16, strconv.IntSize)
	return mapping{uintptr(start), uintptr(end)}, err1 == nil && err2 == nil
}
