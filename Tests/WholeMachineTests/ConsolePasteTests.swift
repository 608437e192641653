import Foundation
import Testing

/// A paste into a console whose guest reads nothing.
@Suite struct ConsolePasteTests {
  /// Bytes of the process that are in memory.
  private func residentBytes(_ process: pid_t) throws -> Int {
    let text = try String(contentsOfFile: "/proc/\(process)/statm", encoding: .utf8)
    return (Int(text.split(separator: " ").dropFirst().first ?? "") ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE)))
  }

  private func connect(_ port: UInt16) throws -> Int32 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let status = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    try #require(status == 0)
    return descriptor
  }

  /// Sends until the connection takes no more for a second, or everything is sent.
  private func paste(_ bytes: [UInt8], into descriptor: Int32) -> Int {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes {
        send(descriptor, $0.baseAddress! + done, bytes.count - done, Int32(MSG_DONTWAIT))
      }
      if count > 0 {
        done += count
        continue
      }
      var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
      guard poll(&entry, 1, 1000) > 0 else { break }
    }
    return done
  }

  /// The guest reads nothing: it is paused.
  @Test("a paste of 42 MB waits in the client: the process stays small and the state is saved at once")
  func paste() throws {
    let host = try TestHost()
    try host.create(
      "box", memory: 16,
      ["--firmware", Guests.bareMetal("timers32.rom"), "--uart1", "0x3F8", "4", "--uart-mode1", "tcpserver", "0"])
    try host.vmctl("startvm", "box")
    try host.vmctl("controlvm", "box", "pause")
    let port = try #require(UInt16(try host.fact("box", "uartport1") ?? ""))
    let process = try #require(host.processID("box"))
    let descriptor = try connect(port)
    defer { close(descriptor) }
    let before = try residentBytes(process)
    let sent = paste([UInt8](repeating: 0x61, count: 42 << 20), into: descriptor)
    #expect(sent < 8 << 20, "\(sent) bytes were taken")
    let grown = try residentBytes(process) - before
    #expect(grown < 16 << 20, "the process has grown by \(grown) bytes")
    // The console still shows and the machine still obeys.
    try host.vmctl("controlvm", "box", "savestate")
    let file = host.home + "/machines/box/saved.state"
    let size = (try FileManager.default.attributesOfItem(atPath: file)[.size] as? Int) ?? 0
    #expect(size > 0 && size < 4 << 20, "\(size) bytes")
    try host.vmctl("startvm", "box")
    #expect(try host.state("box") == "running")
  }

  @Test("vmctl console can be left by its escape while a paste waits")
  func escape() throws {
    let host = try TestHost()
    try host.create("box", memory: 16, ["--firmware", Guests.bareMetal("timers32.rom"), "--uart1", "0x3F8", "4"])
    try host.vmctl("startvm", "box")
    try host.vmctl("controlvm", "box", "pause")
    let terminal = try TerminalSession(TestHost.vmctl, ["console", "box"], environment: host.environment)
    try terminal.expect("leaves")
    for _ in 0..<100 { try terminal.send(String(repeating: "x", count: 4096)) }
    try terminal.send("\u{1D}")
    #expect(try terminal.child.wait(within: 60) == 0)
    #expect(try host.state("box") == "paused")
  }
}
