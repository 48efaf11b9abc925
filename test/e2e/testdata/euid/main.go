// Command euid prints its effective user ID. As a set-uid file it shows the effect of that bit.
package main

import (
	"fmt"
	"os"
)

func main() { fmt.Println(os.Geteuid()) }
