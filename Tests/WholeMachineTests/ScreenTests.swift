import Foundation
import Testing

/// A machine's screen as its viewers see it, with guests that draw and type.
@Suite struct ScreenTests {
  @Test("viewers see what a screenshot shows, and their keys and pointer arrive", .enabled(if: Guests.has("di-amd64")))
  func watching() throws {
    let host = try TestHost()
    let console = try host.startLinux("box", kernel: "di-amd64")
    let viewers = try [ScreenViewer(host, "box"), ScreenViewer(host, "box")]
    for viewer in viewers { try viewer.waitForScreenshot(host, "box") }

    // While nobody has it open a terminal drops keys.
    try console.send("exec 3<>/dev/tty1\n")
    try console.expect("guest# ")
    // The shell reads the keys of the screen's terminal: "ok", with Shift for one letter, and Enter.
    try console.send("read -r word <&3; echo \"typed $word.\"\n")
    let typist = try ScreenViewer(host, "box")
    try typist.say([2, 0x18, 0x98, 0x2A])
    try typist.say([2, 0x25, 0xA5, 0xAA, 0x1C, 0x9C])
    try console.expect("typed oK.")

    // Text is typed as keys, what a US keyboard does not have is left out.
    try console.expect("guest# ")
    try console.send("read -r word <&3; echo \"typed $word.\"\n")
    try typist.say([5] + Array("Ö~/[x]\n".utf8))
    try console.expect("typed ~/[x].")

    // Who goes lets go of what he holds: a Shift that stays down would make capitals.
    try console.expect("guest# ")
    try console.send("read -r word <&3; echo \"typed $word.\"\n")
    do {
      let leaving = try ScreenViewer(host, "box")
      try leaving.say([2, 0x2A, 0x1E])
    }
    try poll("the letter on the screen") {
      let lines = try host.vmctl("debugvm", "box", "info", "screen").split(separator: "\n")
      return lines.contains("A") ? () : nil
    }
    try typist.type([0x30, 0x1C])
    try console.expect("typed Ab.")

    // Drawing on the screen is seen by all.
    try console.expect("guest# ")
    try console.send("for i in 1 2 3 4 5 6 7 8; do echo \"line $i of the screen\" > /dev/tty1; done\n")
    for viewer in viewers { try viewer.waitForScreenshot(host, "box") }
    #expect(try host.vmctl("debugvm", "box", "info", "screen").contains("line 8 of the screen"))
  }
}
