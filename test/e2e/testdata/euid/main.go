// Command euid prints its effective user ID. As a set-uid file it tells whether that bit had an effect.
package main

import (
	"fmt"
	"os"
)

func main() { fmt.Println(os.Geteuid()) }
