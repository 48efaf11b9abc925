package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// suite is the mount engine's own tests.
const suite = "/usr/bin/hostmount.test"

// testTimeout of the suite, on an emulated processor.
const testTimeout = "-test.timeout=14m"

// quotaTests must pass in every run of the suite: elsewhere they are skipped where a kernel has no project quotas.
var quotaTests = []string{
	"TestALimitedVolumeIsFullWhenItsLimitIsReachedAndNothingElseIs",
	"TestACopyWithItsLabelIsLimited",
	"TestEmptyFilesAreLimitedToo",
	"TestALimitKeepsItsProjectAndLeavesNothing",
	"TestALimitIsRecordedWhenItsDirectoriesLeadToIt",
	"TestAPodChoosesNoProject",
}

// withoutStackedFiles is for kernels that do not stack images which are files, and the tests named EROFS for the others.
const withoutStackedFiles = "TestAKernelThatStacksNoImageFilesIsToldSo"

// The part of the suite that a container cannot run: tests that start confined copies of themselves, or need a capability
// or a device that the node plugin has not.
const (
	onNode  = "^(TestScenariosAsANodePlugin|TestAWritableOverlayThatComesUpReadOnlyFails|TestTheCheckProvesThatMountsReachTheNode)$"
	notHere = onNode + "|^(TestTheSuiteAsANodePlugin|TestVolumesThatHangKeepNoOthersFromBeingMounted)$"
)

// ofTheKernel are tests whose outcome is up to the kernel's release alone, and which take long.
const ofTheKernel = "|^TestOverlayShowsEveryLayer$/^(60|127|400)$|^(TestTheKernelsOwnWordsReachTheError|TestMoreLayersThanTheKernelStacksAreRefused|" +
	"TestMountsOfManyLongOverlays|TestLongLayerNamesReachTheSameLimit|TestSpecialCharactersInNames|TestLinesAroundTheLimit)$|^Fuzz|EROFS"

// suiteOnNode runs as a program of the node what does not run in a container.
func suiteOnNode() error {
	cmd := exec.Command(suite, "-test.v", testTimeout, "-test.run="+onNode)
	output, err := os.CreateTemp("", "suite-")
	if err != nil {
		return err
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Env = append(os.Environ(), "TMPDIR="+kubeletRoot, "CI=true")
	err = cmd.Run()
	said, readErr := os.ReadFile(output.Name())
	return judge(string(said), errors.Join(err, readErr))
}

// suiteInContainer runs the suite in the node plugin's container, on engines that mount in the node's namespace.
func (c cell) suiteInContainer() error {
	skip, wanted := notHere, onEveryFileSystem(quotaTests)
	if os.Getenv("IMAGECSI_STACKS_FILES") == "true" {
		skip += "|" + withoutStackedFiles
	} else {
		skip += "|EROFS"
		wanted = append(wanted, withoutStackedFiles)
	}
	if securityModule() != "none" {
		skip += ofTheKernel
	}
	plugin, err := c.plugin(suite, "-test.v", testTimeout, "-test.skip="+skip)
	if err != nil {
		return err
	}
	plugin.env = []string{"TMPDIR=" + kubeletRoot, "CI=true", "IMAGECSI_TEST_ROLE=plugin", "IMAGECSI_TEST_NAMESPACE=" + contract.HostNamespacePath}
	said, err := plugin.run()
	return judge(said, err, wanted...)
}

// store is the tests of CRI-O's image store.
const store = "/usr/bin/crio.test"

// storeTests are those of them in which the node plugin finds layers and pins them, on stores that another process fills, too.
var storeTests = []string{
	"TestLayersAreTopmostFirst",
	"TestAPinKeepsTheRuntimeFromRemovingTheImage",
	"TestAnImageThatAnotherProcessAddedIsSeen",
	"TestALostPinIsMadeAgainFromWhateverImageHasTheLayers",
	"TestImagesAreFoundWhereverCRIOKeepsThem",
}

// storeInContainer runs them in the node plugin's container, as in mode Nsenter on a CRI-O node. What is checked there is the
// storage library: it makes its layers in the container, and not in the node's namespace.
func (c cell) storeInContainer() error {
	plugin, err := c.plugin(store, "-test.v", testTimeout, "-test.run=^("+strings.Join(storeTests, "|")+")$")
	if err != nil {
		return err
	}
	plugin.env = []string{"TMPDIR=" + kubeletRoot, "CI=true", "IMAGECSI_TEST_ROLE=isolated"}
	said, err := plugin.run()
	return judge(said, err, storeTests...)
}

// onEveryFileSystem are the names under which tests run on each file system that has project quotas.
func onEveryFileSystem(tests []string) (names []string) {
	for _, test := range tests {
		for _, kind := range []string{"ext4", "xfs"} {
			for _, by := range []string{"false", "true"} {
				names = append(names, test+"/"+kind+",_by_device_"+by)
			}
		}
	}
	return names
}

var outcome = regexp.MustCompile(`(?m)^ *--- (PASS|FAIL|SKIP): (\S.*) \(`)

// judge returns what is wrong with the suite's outcome. Nothing may have been skipped but, on kernels without it, what
// needs lowerdir+. The wanted tests must have passed.
func judge(said string, err error, wanted ...string) error {
	passed := map[string]bool{}
	var wrong []string
	for _, found := range outcome.FindAllStringSubmatch(said, -1) {
		switch name := found[2]; found[1] {
		case "PASS":
			passed[name] = true
		case "SKIP":
			withoutAppend := !hasLowerdirAppend() && (strings.HasSuffix(name, "/lowerdir+") || name == "TestTheKernelsOwnWordsReachTheError")
			if !withoutAppend {
				wrong = append(wrong, name+" was skipped")
			}
		default:
			wrong = append(wrong, name+" failed")
		}
	}
	for _, name := range wanted {
		if !passed[name] {
			wrong = append(wrong, name+" did not pass")
		}
	}
	if err == nil && len(passed) == 0 {
		wrong = append(wrong, "no test ran")
	}
	if err == nil && len(wrong) == 0 {
		fmt.Printf("%d tests passed\n", len(passed))
		return nil
	}
	fmt.Println(said)
	return fmt.Errorf("%s: %w", strings.Join(wrong, ", "), errors.Join(err, errors.New("see the output above")))
}

// hasLowerdirAppend reports whether this kernel is one that takes overlay layers one by one, as kernels from 6.8 do.
func hasLowerdirAppend() bool { return os.Getenv("IMAGECSI_LOWERDIR_APPEND") == "true" }
