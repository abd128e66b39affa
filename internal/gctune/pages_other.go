//go:build !linux

package gctune

// dropProgramPages does nothing: only Linux has /proc/self/smaps.
func dropProgramPages() {}
