package main

import "github.com/mtakit/mtakit/lookup/rewrite"

// addresses returns the addresses of a field, or of an argument of the command line,
// in wire form.
func addresses(value string) ([]string, error) {
	found, err := rewrite.ParseAddresses(value)
	list := make([]string, len(found))
	for i, a := range found {
		list[i] = a.String()
	}
	return list, err
}
