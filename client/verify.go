package client

import (
	"slices"

	"github.com/statesync/statesync/client/internal/hook"
)

func init() {
	hook.Verify = func(c any) error { return c.(*Client).verify() }
}

// verify decodes what bindings handed out once more and compares.
func (c *Client) verify() error {
	c.mu.Lock()
	bindings := slices.Clone(c.bindings)
	c.mu.Unlock()
	for _, b := range bindings {
		if err := b.verify(); err != nil {
			return err
		}
	}
	return nil
}
