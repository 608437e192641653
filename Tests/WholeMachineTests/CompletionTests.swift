import Foundation
import Testing

/// Completions, in shells as people have them.
@Suite struct CompletionTests {
  private static let shells: [(name: String, start: [String])] = [
    ("bash", ["bash", "--norc", "--noprofile", "-i"]), ("fish", ["fish", "--no-config"]),
  ].filter { shell in
    TmuxTerminal.missing == nil && ["/usr/bin/", "/bin/"].contains { access($0 + shell.name, X_OK) == 0 }
  }

  @Test(arguments: shells.map(\.name))
  func commandsVerbsMachinesAndValuesAreCompleted(shell: String) throws {
    let host = try TestHost()
    try host.create("letterbox")
    try FileManager.default.createDirectory(atPath: host.folder + "/bin", withIntermediateDirectories: true)
    try FileManager.default.createSymbolicLink(
      atPath: host.folder + "/bin/vmctl", withDestinationPath: TestHost.vmctl)
    let start = try #require(Self.shells.first { $0.name == shell }).start
    let terminal = try TmuxTerminal(
      host, start, columns: 120, rows: 40,
      environment: ["HOME": host.folder, "PATH": host.folder + "/bin:/usr/bin:/bin"])
    try terminal.type("source \(Guests.root)/docs/completions/vmctl.\(shell)")
    try terminal.press("Enter")
    for (begun, whole) in [
      ("vmctl showvmi", "vmctl showvminfo"), ("vmctl showvminfo lett", "vmctl showvminfo letterbox"),
      ("vmctl controlvm letterbox acpi", "vmctl controlvm letterbox acpipowerbutton"),
      ("vmctl modifyvm letterbox --accel inter", "vmctl modifyvm letterbox --accel interpreter"),
      ("vmctl service install", "vmctl service install-names"),
    ] {
      try terminal.press("C-l")
      try terminal.type(begun)
      try terminal.expect(begun)
      try terminal.press("Tab")
      let screen = try terminal.expect(whole)
      #expect(!screen.lowercased().contains("error"), "\(screen)")
      try terminal.press("C-c")
    }
  }
}
