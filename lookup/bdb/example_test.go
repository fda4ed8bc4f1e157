package bdb_test

import (
	"context"
	"fmt"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/bdb"
)

// A file that "postmap hash:access" has made.
func Example() {
	table, err := bdb.Open("testdata/access.db", lookup.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(table.Lookup(context.Background(), "Alice@Example.org"))
	fmt.Println(table.Lookup(context.Background(), "example.net"))
	fmt.Println(table.Lookup(context.Background(), "example.com"))
	// Output:
	// OK true <nil>
	// REJECT no such place true <nil>
	//  false <nil>
}
