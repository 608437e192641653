import Foundation
import Testing

/// A machine's screen in a window.
@Suite struct WindowTests {
  @Test("without a display a window is refused before the machine starts")
  func noDisplay() throws {
    let host = try TestHost()
    try host.create("box")
    let none = ["DISPLAY": "", "WAYLAND_DISPLAY": "", "SDL_VIDEODRIVER": ""]
    let start = try host.begin(["startvm", "box", "--type", "gui"], environment: none)
    #expect(try start.wait() == 1)
    #expect(
      start.errors.split(separator: "\n").count == 1 && start.errors.contains("there is no display"), "\(start.errors)")
    #expect(try host.state("box") == "poweroff")
    try host.refused("view", "box", saying: ["poweroff", "startvm"])
    try host.vmctl("startvm", "box")
    let view = try host.begin(["view", "box"], environment: none)
    #expect(try view.wait() == 1)
    #expect(view.errors.contains("--vrde on"), "\(view.errors)")
    try host.refused("startvm", "box", "--type", "gui", "--foreground", status: 64, saying: ["vmctl view"])
  }

  @Test(
    "a window shows what a screenshot shows, and keys typed in it arrive",
    .enabled(if: Display.isThere && Guests.has("di-amd64")))
  func window() throws {
    let host = try TestHost()
    let display = try Display(host)
    let console = try host.startLinux("box", kernel: "di-amd64")
    try console.send("exec 3<>/dev/tty1\n")
    try console.expect("guest# ")
    let view = try host.begin(["view", "box"], environment: display.environment)
    let window = try poll("a window") {
      try? display.xdotool("search", "--onlyvisible", "--name", "^box \\(click").split(separator: "\n").first.map(
        String.init)
    }
    func compare() throws {
      try poll("the same picture as a screenshot's") {
        let file = host.folder + "/compared.png"
        try host.vmctl("controlvm", "box", "screenshotpng", file)
        let picture = try Picture(png: try Data(contentsOf: URL(fileURLWithPath: file)))
        let seen = try display.picture(of: window)
        return seen.width == picture.width && seen.pixels == picture.pixels ? () : nil
      }
    }
    try compare()

    // A click gives the pointer to the machine, and the title says how to have it back.
    try display.xdotool("windowfocus", "--sync", window)
    try display.xdotool("mousemove", "--window", window, "300", "200")
    try display.xdotool("click", "1")
    try poll("the grab") { try display.xdotool("getwindowname", window).contains("Ctrl+Alt lets") ? () : nil }
    try console.send("read -r word <&3; echo \"typed $word.\"\n")
    try display.xdotool("type", "Hello \"you\"~")
    try display.xdotool("key", "Return")
    try console.expect("typed Hello \"you\"~.")
    try compare()
    try display.xdotool("keydown", "ctrl", "keydown", "alt", "keyup", "alt", "keyup", "ctrl")
    try poll("the end of the grab") { try display.xdotool("getwindowname", window).contains("(click") ? () : nil }

    // The display goes, and the machine does not care.
    display.end()
    _ = try view.wait()
    try console.expect("guest# ")
    try console.send("echo still $((40 + 2))\n")
    try console.expect("still 42")
  }

  @Test("a window closes when its machine ends, and says so", .enabled(if: Display.isThere))
  func end() throws {
    let host = try TestHost()
    let display = try Display(host)
    try host.create("box")
    try host.vmctl("startvm", "box")
    let view = try host.begin(["view", "box"], environment: display.environment)
    _ = try poll("a window") { try? display.xdotool("search", "--onlyvisible", "--name", "^box") }
    try host.vmctl("controlvm", "box", "poweroff")
    #expect(try view.wait() == 0)
    #expect(view.errors.contains("the machine \"box\" has ended"))
  }
}
