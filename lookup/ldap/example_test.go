package ldap_test

import (
	"context"
	"fmt"

	"github.com/mtakit/mtakit/lookup/ldap"
)

// Mail for the members of a group goes to their addresses. Where the directory cannot
// be asked, that is an error, and mail waits.
func Example() {
	table, err := ldap.New(ldap.Config{
		Servers: []string{"ldapi://%2Fno%2Fsuch%2Fsocket"}, Base: "dc=example,dc=org",
		Filter: "(mail=%s)", Leaf: []string{"mail"}, Special: []string{"member"}, Attributes: []string{},
		Limit: 1000,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer table.Close()
	_, found, err := table.Lookup(context.Background(), "staff@example.org")
	fmt.Println("found:", found, "failed:", err != nil)
	// Output: found: false failed: true
}
