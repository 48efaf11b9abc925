// Command waits prints what it was linked with, and ends when its input does.
package main

import (
	"fmt"
	"io"
	"os"
)

var said string

func main() {
	fmt.Println(said)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
