package verify_test

import (
	"context"
	"fmt"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/verify"
)

// Example asks about the same address twice; the site is asked once.
func Example() {
	cache := &verify.Cache{
		// In a server this is its queue.Manager.
		Prober: verify.ProberFunc(func(_ context.Context, address string) (mtakit.Result, error) {
			fmt.Println("asking about", address)
			return mtakit.Result{Outcome: mtakit.Bounced, Status: smtp.EnhancedCode{5, 1, 1}, Remote: "mx.example.net[192.0.2.1]:25",
				Reply: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}}, nil
		}),
	}
	defer cache.Close()

	for range 2 {
		r, err := cache.Verify(context.Background(), "nobody@example.net")
		fmt.Println(r.Outcome, r.Status, r.Diagnostic, err)
	}
	// Output:
	// asking about nobody@example.net
	// bounced [5 1 1] host mx.example.net[192.0.2.1]:25 said: 550 5.1.1 no such user <nil>
	// bounced [5 1 1] host mx.example.net[192.0.2.1]:25 said: 550 5.1.1 no such user <nil>
}
