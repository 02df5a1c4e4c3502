package client

import "sync"

var defaultClient = sync.OnceValues(func() (*Client, error) { return Open("", Lazy()) })

// Default is the client of the default region, $STATESYNC_REGION or
// /dev/shm/statesync/default, for programs that have just one. It is opened
// Lazy when it is first asked for, and must not be closed. It panics if
// STATESYNC_OWNER is not a list of numbers.
func Default() *Client {
	c, err := defaultClient()
	if err != nil {
		panic(err)
	}
	return c
}

// Get finds a config in the newest generation of the default region; see
// Client.Get.
func Get(config string) (Doc, error) { return Default().Get(config) }
