import Foundation

/// What a window that shows a machine's screen says.
public enum ScreenWindowWords {
  /// For who starts the program by hand.
  public static let usage = "vmctl-view: say vmctl view NAME"

  /// - Parameters: machine: its name. isGrabbed: whether the pointer is the guest's.
  public static func title(_ machine: String, isGrabbed: Bool) -> String {
    isGrabbed
      ? "\(machine) (Ctrl+Alt lets the pointer go)"
      : "\(machine) (click: the pointer is the machine's; Ctrl+Alt+F full screen, Ctrl+Alt+V paste)"
  }

  /// There can be no window here.
  public static func noWindow(_ reason: String) -> ManagementError {
    ManagementError(
      "cannot open a window: \(reason)",
      remedy:
        "start it in a graphical session (DISPLAY, WAYLAND_DISPLAY), or see the screen by VNC with vmctl modifyvm --vrde on"
    )
  }

  /// The machine has gone.
  public static func farewell(_ machine: String, _ place: String) -> String {
    place.isEmpty ? "the machine \"\(machine)\" has ended" : "the machine \"\(machine)\" has left: \(place)"
  }
}

extension VMEntry {
  /// The program that shows a machine's screen in a window, beside vmctl; only that one needs SDL.
  /// - Throws: `ManagementError` when it is not there.
  public static func windowProgram() throws -> String {
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    let path = URL(fileURLWithPath: own).deletingLastPathComponent().path + "/vmctl-view"
    guard access(path, X_OK) == 0 else {
      throw ManagementError(
        "windows are opened by vmctl-view, which is not beside vmctl (\(path))",
        remedy: "install it there, or see the screen by VNC with vmctl modifyvm --vrde on")
    }
    return path
  }
}
