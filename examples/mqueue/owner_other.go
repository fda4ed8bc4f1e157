//go:build !unix

package main

import "io/fs"

func becomeOwner(fs.FileInfo) error { return nil }
