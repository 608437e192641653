import Foundation
import Testing

/// Debian's kernels, from power-on to a shell, used as a person would use them.
@Suite(.enabled(if: Guests.hasLinux, "needs the Linux guests: run scripts/fetch-guest"))
struct LinuxTests {
  @Test("Debian's kernel boots to a shell that answers, obeys ^C, survives its reboot and powers off")
  func shell() throws {
    let host = try TestHost()
    let console = try host.startLinux("box")
    #expect(try console.shell("echo $((6 * 7))") == "42\n")
    #expect(try console.shell("uname -sm") == "Linux x86_64\n")
    // What is typed is echoed before the shell has read it: the word that it prints has no quotes.
    try console.send("echo a''sleep; sleep 1000\n")
    try console.expect("asleep")
    try console.send("\u{3}")
    try console.expect("guest# ")
    #expect(try console.shell("echo $?") == "130\n")

    try console.send("reboot -f\n")
    try console.expect("VMCTL-BOOT-DONE")
    try console.expect("guest# ")
    #expect(try host.state("box") == "running")
    try console.send("poweroff -f\n")
    try host.waitForState("box", "poweroff")
    try poll("the end of its process") { host.processID("box") == nil ? () : nil }
  }

  @Test("the power button of controlvm reaches the guest")
  func powerButton() throws {
    let host = try TestHost()
    let console = try host.startLinux("box")
    // Debian's button driver is a module, which this guest lacks: the event stays latched in the status register.
    let event = "cat /sys/firmware/acpi/interrupts/ff_pwr_btn"
    #expect(!(try console.shell(event)).contains("STS"))
    try host.vmctl("controlvm", "box", "acpipowerbutton")
    try poll("the button in the guest") { try console.shell(event).contains("STS") ? () : nil }
    #expect(try host.state("box") == "running", "what happens is the guest's to decide")
  }

  @Test("an injected NMI is served by every CPU whose LINT1 takes it")
  func injectedNMI() throws {
    let host = try TestHost()
    let console = try host.startLinux("box")
    func count() throws -> Int {
      Int(try console.shell("awk '/^ *NMI:/ { print $2 }' /proc/interrupts").filter(\.isNumber)) ?? -1
    }
    let before = try count()
    try host.vmctl("controlvm", "box", "injectnmi")
    try poll("the NMI in the guest") { try count() == before + 1 ? () : nil }
    #expect(try console.shell("dmesg | grep -c 'NMI received'") == "1\n")
    let wrong = try host.attempt(["controlvm", "box", "pause"])
    #expect(wrong.status == 0)
    #expect(try host.attempt(["controlvm", "box", "injectnmi"]).errors.contains("running"))
  }

  @Test("a saved Linux goes on with the same shell and the same programs")
  func savedState() throws {
    let host = try TestHost()
    let console = try host.startLinux("box", append: "workload=16 beat=5000")
    try console.shell("answer=41")
    try console.shell("while :; do n=$((n + 1)); echo $n >/tmp/n; done &")
    // Between two counts the file is empty for a moment.
    func counter(_ console: ConsoleClient) throws -> Int {
      try poll("the counter") { Int(try console.shell("cat /tmp/n").prefix { $0.isNumber }) }
    }
    let before = try counter(console)
    try host.vmctl("controlvm", "box", "savestate")
    #expect(try host.state("box") == "saved")

    try host.vmctl("startvm", "box")
    let later = try host.console("box")
    try later.send("\n")
    try later.expect("guest# ")
    #expect(try later.shell("echo answer $((answer + 1))").contains("answer 42\n"))
    let first = try counter(later)
    #expect(first >= before)
    try poll("the counter to go on") { try counter(later) > first ? () : nil }
    #expect(!String(decoding: later.pending, as: UTF8.self).contains("MEMORY ERROR"))
  }

  @Test(
    "the installer's kernels boot too, with little memory and with much",
    .enabled(if: Guests.has("di-i386") && Guests.has("di-amd64"), "needs scripts/fetch-guest all"),
    arguments: [
      ("di-i386", 256, "i686"), ("di-i386", 3072, "i686"), ("di-amd64", 1024, "x86_64"), ("di-amd64", 2048, "x86_64"),
      ("di-amd64", 4096, "x86_64"),
    ])
  func installer(_ kernel: String, _ memory: Int, _ machine: String) throws {
    let host = try TestHost()
    let console = try host.startLinux("box", kernel: kernel, memory: memory)
    #expect(try console.shell("uname -m") == machine + "\n")
    let line = try console.shell("grep MemTotal /proc/meminfo")
    let kilobytes = Int(line.filter(\.isNumber)) ?? 0
    #expect(kilobytes > memory * 1024 * 85 / 100 && kilobytes < memory * 1024, "\(line)")
  }

  @Test("an ISO boots from the CD-ROM drive by isolinux")
  func iso() throws {
    let host = try TestHost()
    let file = host.folder + "/linux.iso"
    let build = try Child(
      Guests.root + "/scripts/build-iso", [file, "console=ttyS0 quiet workload=0"], environment: host.environment,
      streams: .files(folder: host.folder, input: nil))
    #expect(try build.wait() == 0, "\(build.errors)")
    try host.create(
      "box", memory: 256, ["--boot1", "dvd", "--uart1", "0x3F8", "4", "--uart-mode1", "tcpserver", "0"])
    try host.attach("box", port: 1, type: "dvddrive", file)
    try host.vmctl("startvm", "box")
    let console = try host.console("box")
    try console.expect("VMCTL-BOOT-DONE")
    try console.expect("guest# ")
    #expect(try console.shell("uname -s") == "Linux\n")
  }

  @Test("memtest86+ starts and finds the memory")
  func memtest() throws {
    let image = ["/boot/memtest86+x64.bin", "/boot/memtest86+.bin"].first {
      FileManager.default.isReadableFile(atPath: $0)
    }
    let host = try TestHost()
    try host.create("box", memory: 64, ["--kernel", try #require(image, "the package memtest86+")])
    try host.vmctl("startvm", "box")
    try poll("memtest86+ on the screen") {
      let screen = try host.attempt(["debugvm", "box", "info", "screen"]).output
      return screen.contains("Memtest86+") && screen.contains("Pass") ? () : nil
    }
  }
}
