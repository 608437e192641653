import CSDL
import Foundation
import Management

/// A window that shows a machine's screen and gives it its keys and its pointer.
///
/// The picture is scaled to the window's size in its own proportions. While the pointer is the machine's its movements are
/// told, not its places, since the guest's mouse knows movements only.
final class ScreenWindow {
  private let window: OpaquePointer
  private let renderer: OpaquePointer
  private var texture: OpaquePointer?
  private var screen: ScreenConnection?
  private var isGrabbed = false
  private var buttons: UInt8 = 0
  /// Usages of keys that are down in the guest.
  private var held: Set<Int> = []
  /// Ctrl and Alt are down, and nothing else has been pressed since.
  private var isLettingGo = false

  /// - Throws: `ManagementError` when there can be no window here.
  init() throws {
    // Without a display SDL's libraries complain in words of their own, or draw where nobody sees it.
    let names = ["DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"]
    guard names.contains(where: { ProcessInfo.processInfo.environment[$0]?.isEmpty == false }) else {
      throw ScreenWindowWords.noWindow("there is no display")
    }
    SDL_SetMainReady()
    // A full screen keeps the desktop's mode, and the grab takes what the desktop would take.
    SDL_SetHint("SDL_GRAB_KEYBOARD", "1")
    SDL_SetHint("SDL_VIDEO_X11_NET_WM_BYPASS_COMPOSITOR", "0")
    guard SDL_Init(UInt32(SDL_INIT_VIDEO)) == 0 else { throw ScreenWindowWords.noWindow(Self.reason) }
    let driver = SDL_GetCurrentVideoDriver().map { String(cString: $0) } ?? ""
    guard !["dummy", "offscreen", "evdev"].contains(driver) || getenv("SDL_VIDEODRIVER") != nil else {
      throw ScreenWindowWords.noWindow("the display cannot be reached")
    }
    let flags = SDL_WINDOW_RESIZABLE.rawValue | SDL_WINDOW_ALLOW_HIGHDPI.rawValue | SDL_WINDOW_HIDDEN.rawValue
    let anywhere = Int32(bitPattern: 0x1FFF_0000)  // SDL_WINDOWPOS_UNDEFINED
    guard let window = SDL_CreateWindow("vmctl", anywhere, anywhere, 720, 400, flags),
      let renderer = SDL_CreateRenderer(window, -1, 0)
    else { throw ScreenWindowWords.noWindow(Self.reason) }
    (self.window, self.renderer) = (window, renderer)
    SDL_StopTextInput()
  }

  private static var reason: String { String(cString: SDL_GetError()) }

  deinit { SDL_Quit() }

  /// Shows the screen until the window is closed or the machine has gone.
  /// - Returns: what is to be told; empty: nothing.
  func show(_ screen: ScreenConnection) throws -> String {
    self.screen = screen
    let news = SDL_RegisterEvents(1)
    let bell = Bell(screen.socket, news)
    bell.start()
    var event = SDL_Event()
    while true {
      guard SDL_WaitEvent(&event) != 0 else { return "" }
      if event.type == news {
        switch screen.hear() {
        case .gone(let place): return ScreenWindowWords.farewell(screen.machine, place)
        case nil: return ScreenWindowWords.farewell(screen.machine, "")
        case let told?: take(told, screen)
        }
        bell.heard()
      } else if !handle(event) {
        return ""
      }
    }
  }

  // MARK: The picture

  private func take(_ news: ScreenNews, _ screen: ScreenConnection) {
    switch news {
    case .greeting:
      title()
    case .picture(let width, let height):
      resize(width, height)
      update([ScreenRectangle(x: 0, y: 0, width: width, height: height)], screen)
    case .changes(let parts): update(parts, screen)
    case .gone: break
    }
    screen.say(.wantsChanges)
  }

  private func resize(_ width: Int, _ height: Int) {
    if let texture { SDL_DestroyTexture(texture) }
    texture = SDL_CreateTexture(
      renderer, SDL_PIXELFORMAT_ABGR8888.rawValue, Int32(SDL_TEXTUREACCESS_STREAMING.rawValue), Int32(width),
      Int32(height))
    SDL_RenderSetLogicalSize(renderer, Int32(width), Int32(height))
    let isFree = SDL_GetWindowFlags(window) & (SDL_WINDOW_MAXIMIZED.rawValue | SDL_WINDOW_FULLSCREEN.rawValue) == 0
    if isFree { SDL_SetWindowSize(window, Int32(width), Int32(height)) }
    SDL_ShowWindow(window)
  }

  private func update(_ parts: [ScreenRectangle], _ screen: ScreenConnection) {
    guard let pixels = screen.pixels else { return }
    for part in parts {
      var place = SDL_Rect(x: Int32(part.x), y: Int32(part.y), w: Int32(part.width), h: Int32(part.height))
      SDL_UpdateTexture(texture, &place, pixels + (part.y * screen.width + part.x) * 4, Int32(screen.width * 4))
    }
    draw()
  }

  private func draw() {
    SDL_SetRenderDrawColor(renderer, 0, 0, 0, 255)
    SDL_RenderClear(renderer)
    if let texture { SDL_RenderCopy(renderer, texture, nil, nil) }
    SDL_RenderPresent(renderer)
  }

  private func title() {
    SDL_SetWindowTitle(window, ScreenWindowWords.title(screen?.machine ?? "", isGrabbed: isGrabbed))
  }

  // MARK: Keys and pointer

  /// - Returns: false when the window is to be closed.
  private func handle(_ event: SDL_Event) -> Bool {
    switch SDL_EventType(event.type) {
    case SDL_QUIT: return false
    case SDL_WINDOWEVENT:
      let kind = SDL_WindowEventID(UInt32(event.window.event))
      if kind == SDL_WINDOWEVENT_FOCUS_LOST { letGo() }
      if kind == SDL_WINDOWEVENT_EXPOSED || kind == SDL_WINDOWEVENT_SIZE_CHANGED { draw() }
    case SDL_KEYDOWN: press(Int(event.key.keysym.scancode.rawValue))
    case SDL_KEYUP: release(Int(event.key.keysym.scancode.rawValue))
    case SDL_MOUSEBUTTONDOWN where !isGrabbed: grab(true)
    case SDL_MOUSEBUTTONDOWN, SDL_MOUSEBUTTONUP: click(event.button)
    case SDL_MOUSEMOTION where isGrabbed: move(Int(event.motion.xrel), Int(event.motion.yrel))
    // SDL's wheel turns away from the user, the machine's towards him.
    case SDL_MOUSEWHEEL where isGrabbed: move(0, 0, wheel: -Int(event.wheel.y))
    default: break
    }
    return true
  }

  private static let (control, alt): (Set<Int>, Set<Int>) = ([0xE0, 0xE4], [0xE2, 0xE6])

  private func press(_ usage: Int) {
    if !held.isDisjoint(with: Self.control), !held.isDisjoint(with: Self.alt), let action = action(usage) {
      isLettingGo = false
      releaseKeys()
      return action()
    }
    let codes = KeyUsages.press(usage)
    guard !codes.isEmpty else { return }
    held.insert(usage)
    isLettingGo =
      held.isSubset(of: Self.control.union(Self.alt)) && !held.isDisjoint(with: Self.control)
      && !held.isDisjoint(with: Self.alt)
    screen?.say(.keys(codes))
  }

  private func release(_ usage: Int) {
    guard held.remove(usage) != nil else { return }
    screen?.say(.keys(KeyUsages.release(usage)))
    if isLettingGo { grab(false) }
    isLettingGo = false
  }

  /// What Ctrl+Alt and a key do to the window.
  private func action(_ usage: Int) -> (() -> Void)? {
    switch usage {
    case 0x09: return toggleFullScreen  // F
    case 0x19: return paste  // V
    default: return nil
    }
  }

  private func toggleFullScreen() {
    let isFull = SDL_GetWindowFlags(window) & SDL_WINDOW_FULLSCREEN.rawValue != 0
    SDL_SetWindowFullscreen(window, isFull ? 0 : SDL_WINDOW_FULLSCREEN_DESKTOP.rawValue)
  }

  private func paste() {
    guard let text = SDL_GetClipboardText() else { return }
    defer { SDL_free(text) }
    var part = ""
    for character in String(cString: text) {
      if part.utf8.count + character.utf8.count > ScreenProtocol.textLimit {
        screen?.say(.text(part))
        part = ""
      }
      part.append(character)
    }
    if !part.isEmpty { screen?.say(.text(part)) }
  }

  private func click(_ event: SDL_MouseButtonEvent) {
    let bit: UInt8 = event.button == 1 ? 1 : event.button == 3 ? 2 : event.button == 2 ? 4 : 0
    let isDown = event.state == 1
    guard isGrabbed || !isDown else { return }
    buttons = isDown ? buttons | bit : buttons & ~bit
    move(0, 0)
  }

  private func move(_ dx: Int, _ dy: Int, wheel: Int = 0) {
    screen?.say(.move(dx: dx, dy: dy, wheel: wheel, buttons: buttons))
  }

  private func grab(_ isOn: Bool) {
    guard isOn != isGrabbed else { return }
    isGrabbed = isOn
    let on = isOn ? SDL_TRUE : SDL_FALSE
    SDL_SetRelativeMouseMode(on)
    SDL_SetWindowGrab(window, on)
    if !isOn, buttons != 0 {
      buttons = 0
      move(0, 0)
    }
    title()
  }

  private func releaseKeys() {
    for usage in held.sorted() { screen?.say(.keys(KeyUsages.release(usage))) }
    held = []
  }

  private func letGo() {
    releaseKeys()
    isLettingGo = false
    grab(false)
  }
}

/// Wakes the window's loop when the machine has said something.
private final class Bell: @unchecked Sendable {
  private let socket: Int32
  private let kind: UInt32
  private let turn = DispatchSemaphore(value: 0)

  init(_ socket: Int32, _ kind: UInt32) {
    self.socket = socket
    self.kind = kind
  }

  func start() {
    let thread = Thread { [self] in
      while true {
        var waiting = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        while poll(&waiting, 1, -1) < 0, errno == EINTR {}
        var event = SDL_Event()
        event.type = kind
        // A queue that is full has room again in a moment.
        while SDL_PushEvent(&event) < 0 { usleep(10_000) }
        turn.wait()
      }
    }
    thread.name = "bell"
    thread.start()
  }

  func heard() { turn.signal() }
}
