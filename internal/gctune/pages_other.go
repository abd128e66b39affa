//go:build !linux

package gctune

// dropFilePages does nothing: other systems count such pages otherwise.
func dropFilePages() {}
