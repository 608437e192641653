import Foundation
import Testing

/// Linux on a virtio console (hvc0), as a person at it sees it.
@Suite(.enabled(if: Guests.hasNetworkGuest, "needs the network guest: run scripts/build-network-guest"))
struct VirtioConsoleTests {
  private static let options = [
    "--kernel", Guests.kernel("network-amd64"), "--initrd", Guests.folder("network-amd64") + "/initrd", "--append",
    "console=ttyS0 quiet card=none shell", "--uart1", "0x3F8", "4", "--uart-mode1", "tcpserver", "0",
  ]

  private func console(_ host: TestHost) throws -> ConsoleClient {
    try ConsoleClient(port: try #require(try host.fact("box", "virtioconsoleport").flatMap(UInt16.init)))
  }

  @Test("a shell on hvc0 is used by telnet, socket and vmctl console, and goes on in teleports and a saved state")
  func shell() throws {
    let hosts = try TwoHosts(memory: 128, Self.options + ["--virtio-console", "on"])
    let socket = hosts.shared + "/hvc0"
    try hosts.a.modify("box", ["--virtio-console-mode", "tcpserver", "0"])
    // The other host has it elsewhere: that is no difference of the hardware.
    try hosts.b.modify("box", ["--virtio-console-mode", "server", socket])
    try hosts.start(hosts.a)
    let serial = try hosts.a.console("box")
    try serial.expect("guest# ", within: 240)
    try serial.shell("modprobe virtio_pci; modprobe virtio_console")
    try serial.shell("until [ -c /dev/hvc0 ]; do sleep 0.1; done")
    try serial.shell("(exec setsid -c sh -i </dev/hvc0 >/dev/hvc0 2>&1) &")

    var hvc = try console(hosts.a)
    try hvc.send("\n")
    try hvc.expect("guest# ", within: 240)
    #expect(try hvc.shell("tty") == "/dev/hvc0\n")
    #expect(try hvc.shell("seq 1 3000").hasSuffix("2999\n3000\n"))
    // The window of who is connected is the guest's terminal (RFC 1073).
    try hvc.send([255, 251, 31, 255, 250, 31, 0, 132, 0, 43, 255, 240])
    try poll("the window's size") { try hvc.shell("stty size") == "43 132\n" ? () : nil }
    // What nobody reads yet waits in the device: it crosses with the machine.
    try hvc.shell("answer=41; sleep 5 &")
    try hvc.send("wait; echo a''nswer-$((answer + 1))\n")
    try hosts.hop(hosts.a, hosts.b)
    hvc = try ConsoleClient(path: socket)
    try hvc.expect("answer-42", within: 240)
    try hvc.expect("guest# ")

    let terminal = try TerminalSession(
      TestHost.vmctl, ["console", "box", "--virtio"], environment: hosts.b.environment)
    try terminal.send("echo mark-$((40 + 2))\r")
    try terminal.expect("mark-42")
    try terminal.send("\u{1D}")
    #expect(try terminal.child.wait() == 0)

    try hosts.b.vmctl("controlvm", "box", "savestate")
    try poll("the end of its process") { hosts.b.processID("box") == nil ? () : nil }
    try hosts.start(hosts.b)
    hvc = try ConsoleClient(path: socket)
    #expect(try hvc.shell("echo still $((answer + 1))").contains("still 42\n"))
    try hosts.b.vmctl("controlvm", "box", "poweroff")
  }

  @Test("a machine without the console takes none over that has it, and the remedy is told")
  func hardware() throws {
    let hosts = try TwoHosts(guest: "walker32")
    try hosts.a.modify("box", ["--virtio-console", "on"])
    try hosts.start(hosts.a)
    let port = try hosts.await(hosts.b)
    try hosts.expectKept(
      try hosts.send(hosts.a, to: port), on: hosts.a,
      saying: ["Virtio console: source on, target off", "vmctl modifyvm box --virtio-console on"])
    let refused = try hosts.b.attempt(["console", "box", "--virtio"])
    #expect(refused.status == 1 && refused.errors.contains("no virtio console"), "\(refused.errors)")
    #expect(try hosts.a.fact("box", "virtioconsolemode") == "disconnected")
    #expect(try hosts.b.fact("box", "virtioconsolemode") == nil)
  }
}
